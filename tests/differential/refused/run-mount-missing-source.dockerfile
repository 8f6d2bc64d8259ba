FROM scratch
RUN --mount=source=none,target=/a true
