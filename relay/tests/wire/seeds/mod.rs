//! Facts that are named in `make show T=seeds`.

mod goaway;
mod reattach;
mod stop;
