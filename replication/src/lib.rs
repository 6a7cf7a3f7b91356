//! What makes two heads one.
