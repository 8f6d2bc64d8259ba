FROM scratch
--mount=type=cache RUN true
