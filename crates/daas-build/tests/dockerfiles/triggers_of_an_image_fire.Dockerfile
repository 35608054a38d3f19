FROM trigger:1
RUN echo own > /own
