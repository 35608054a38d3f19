//! What this kernel can do.
