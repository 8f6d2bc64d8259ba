FROM scratch AS one___two
