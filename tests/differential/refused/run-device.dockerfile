FROM scratch
RUN --device=vendor/class=one true
