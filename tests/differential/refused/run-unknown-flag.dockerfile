FROM scratch
RUN --foo=bar true
