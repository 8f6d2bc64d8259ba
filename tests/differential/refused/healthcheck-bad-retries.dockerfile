FROM scratch
HEALTHCHECK --retries=x CMD true
