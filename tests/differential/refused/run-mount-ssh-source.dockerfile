FROM scratch
RUN --mount=type=ssh,source=a true
