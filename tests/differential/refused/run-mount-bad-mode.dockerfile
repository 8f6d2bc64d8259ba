FROM scratch
RUN --mount=type=secret,id=a,mode=9 true
