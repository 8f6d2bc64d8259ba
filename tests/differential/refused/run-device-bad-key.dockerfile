FROM scratch
RUN --device=one,requird=true true
