//! The cases, by what they are about.

pub mod answer;
pub mod arrival;
pub mod cancel;
pub mod content;
pub mod ending;
pub mod order;
pub mod redelivery;
