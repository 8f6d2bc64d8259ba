FROM scratch
COPY ${A:} /
