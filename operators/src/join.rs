//! The equi-join of two changing inputs.

/// Which rows without a partner are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Only pairs.
    Inner,
    /// Every left row, padded with NULLs.
    Left,
    /// Every right row, padded with NULLs.
    Right,
    /// Both.
    Full,
    /// Left rows that have a partner, once each.
    LeftSemi,
    /// Left rows that have none.
    LeftAnti,
}

/// What to join. Output columns: the left input's, then the right's (semi and anti: the left's).
#[derive(Clone, Debug)]
pub struct JoinSpec {
    /// Which rows without a partner are kept.
    pub kind: JoinKind,
    /// Key columns of the left input. NULL never equals NULL.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, of the same types.
    pub right_keys: Vec<usize>,
}
