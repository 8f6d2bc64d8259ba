FROM scratch
RUN --mount=type=cache,target=/a --mount=type=cach,target=/b true
