FROM scratch
RUN --mount=type=magic,target=/a true
