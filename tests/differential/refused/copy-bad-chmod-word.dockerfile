FROM scratch
COPY --chmod=rwx Dockerfile /
