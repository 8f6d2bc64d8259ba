FROM scratch
ADD --parents a b
