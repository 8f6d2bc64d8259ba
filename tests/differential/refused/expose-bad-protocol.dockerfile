FROM scratch
EXPOSE 80/what
