//! Other people's programs against the registry.
