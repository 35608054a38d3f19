//! A request for a base image, as the image room wants it.
