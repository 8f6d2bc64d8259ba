ARG P
FROM --platform=$P scratch
