//! Facts that are named in `make show T=seeds`.

mod goaway;
mod migration;
mod reattach;
mod stop;
