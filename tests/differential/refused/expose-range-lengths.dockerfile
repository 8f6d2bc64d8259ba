FROM scratch
EXPOSE 1-3:5-9
