FROM scratch
RUN --mount=type=tmpfs,target=/a,size=big true
