FROM scratch
RUN --mount=type=cache,target=/a,foo=1 true
