FROM --flag=x scratch
