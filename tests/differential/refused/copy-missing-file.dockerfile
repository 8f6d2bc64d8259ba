FROM scratch
COPY none /
