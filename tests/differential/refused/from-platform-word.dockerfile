FROM --platform=nonsense scratch
