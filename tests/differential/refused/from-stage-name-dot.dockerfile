FROM scratch AS one.
