FROM scratch
RUN --mount=from=two,target=/a true
FROM scratch AS two
COPY --from=0 / /
