FROM scratch AS one
COPY --from=two / /
FROM scratch AS two
COPY --from=three / /
FROM scratch AS three
COPY --from=one / /
