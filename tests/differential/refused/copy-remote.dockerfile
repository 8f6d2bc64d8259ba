FROM scratch
COPY http://h.invalid/x /
