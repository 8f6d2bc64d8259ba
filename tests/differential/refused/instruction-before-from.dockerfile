LABEL a=b
FROM scratch
