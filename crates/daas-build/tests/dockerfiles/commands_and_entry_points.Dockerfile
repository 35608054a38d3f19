FROM base:1
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo", "$HOME"]
