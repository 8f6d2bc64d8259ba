# check=skp=all
FROM scratch
COPY a
