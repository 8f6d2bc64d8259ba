FROM UPPER
COPY --from=7 / /
