FROM scratch
COPY one
ENV A=1 B
