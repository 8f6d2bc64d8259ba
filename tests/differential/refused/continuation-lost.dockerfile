FROM scratch
RUN apk add \
  curl
  git
