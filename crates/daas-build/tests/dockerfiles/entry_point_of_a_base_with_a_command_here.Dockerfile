FROM rich:1
CMD ["here"]
