//! One question of the broker: who asks ([`subject`], [`logins`], [`guest`]) and the answer ([`authorizer`], [`denial`]).
//!
//! It knows no HTTP; the requests are read in `http/hooks`.

pub mod authorizer;
pub mod caller;
pub mod denial;
pub mod guest;
pub mod logins;
pub mod reserved_names;
pub mod subject;
pub mod two_generation_map;
