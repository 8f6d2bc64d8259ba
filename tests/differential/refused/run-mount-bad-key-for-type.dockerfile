FROM scratch
RUN --mount=type=tmpfs,target=/a,sharing=locked true
