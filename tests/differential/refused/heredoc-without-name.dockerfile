FROM scratch
COPY <<A <<B /x/
A
