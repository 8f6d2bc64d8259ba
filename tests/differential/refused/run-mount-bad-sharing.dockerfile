FROM scratch
RUN --mount=type=cache,target=/a,sharing=some true
