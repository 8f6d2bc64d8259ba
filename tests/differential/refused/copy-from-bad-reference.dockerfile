FROM scratch
COPY --from=UPPER a b
