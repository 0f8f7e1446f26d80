//! [`Formula`]: a condition over single values.
//!
//! An expression over columns is fast because it is asked for thousands of rows at once. A condition
//! that looks back in a match is asked for one row, whose answer decides what is asked next; what
//! an evaluation costs by itself is then all that it costs. The common operators are therefore
//! spelled out here over plain values, with the meaning that they have over columns. Nothing here
//! can fail, so it doesn't matter what is left out because the answer is known.

use super::value::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

/// An expression over operands.
#[derive(Clone, Debug, PartialEq)]
pub enum Formula {
    /// The operand of this number.
    Operand(usize),
    /// A constant.
    Constant(Value),
    /// A comparison of two values of one type.
    Compare(Comparison, Box<[Formula; 2]>),
    /// Both, in three-valued logic.
    And(Box<[Formula; 2]>),
    /// Either, in three-valued logic.
    Or(Box<[Formula; 2]>),
    /// Not.
    Not(Box<Formula>),
    /// Whether it is NULL.
    IsNull(Box<Formula>),
    /// Two integers of one type, which wrap in so many bits.
    Arithmetic(Arithmetic, Width, Box<[Formula; 2]>),
}

/// Which comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    NotGreater,
    /// `>`
    Greater,
    /// `>=`
    NotLess,
}

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
}

/// The size of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// `TINYINT`
    Bits8,
    /// `SMALLINT`
    Bits16,
    /// `INT`
    Bits32,
    /// `BIGINT`
    Bits64,
}

impl Width {
    /// An integer as it wraps.
    #[inline]
    pub(super) fn wrap(self, value: i64) -> i64 {
        match self {
            Width::Bits8 => i64::from(value as i8),
            Width::Bits16 => i64::from(value as i16),
            Width::Bits32 => i64::from(value as i32),
            Width::Bits64 => value,
        }
    }
}

impl Comparison {
    #[inline]
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::NotGreater => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::NotLess => order.is_ge(),
        }
    }
}

impl Arithmetic {
    #[inline]
    fn apply(self, a: i64, b: i64) -> i64 {
        match self {
            Arithmetic::Add => a.wrapping_add(b),
            Arithmetic::Subtract => a.wrapping_sub(b),
            Arithmetic::Multiply => a.wrapping_mul(b),
        }
    }
}

impl Formula {
    /// Whether it is true; NULL is not.
    #[inline]
    pub(super) fn holds<'v>(&'v self, operand: &impl Fn(usize) -> Cow<'v, Value>) -> bool {
        self.truth(operand) == Some(true)
    }

    /// As a truth value; none is NULL.
    fn truth<'v>(&'v self, operand: &impl Fn(usize) -> Cow<'v, Value>) -> Option<bool> {
        match self {
            Formula::Compare(comparison, sides) => {
                let [left, right] = &**sides;
                let order = left.value(operand).compare(&right.value(operand))?;
                Some(comparison.holds(order))
            }
            Formula::And(sides) => match sides[0].truth(operand) {
                Some(false) => Some(false),
                Some(true) => sides[1].truth(operand),
                None => sides[1].truth(operand).filter(|right| !right),
            },
            Formula::Or(sides) => match sides[0].truth(operand) {
                Some(true) => Some(true),
                Some(false) => sides[1].truth(operand),
                None => sides[1].truth(operand).filter(|right| *right),
            },
            Formula::Not(inner) => inner.truth(operand).map(|truth| !truth),
            Formula::IsNull(inner) => Some(*inner.value(operand) == Value::Null),
            Formula::Operand(_) | Formula::Constant(_) | Formula::Arithmetic(..) => {
                match *self.value(operand) {
                    Value::Boolean(truth) => Some(truth),
                    _ => None,
                }
            }
        }
    }

    fn value<'v>(&'v self, operand: &impl Fn(usize) -> Cow<'v, Value>) -> Cow<'v, Value> {
        match self {
            Formula::Operand(number) => operand(*number),
            Formula::Constant(value) => Cow::Borrowed(value),
            Formula::Arithmetic(arithmetic, width, sides) => {
                let [left, right] = &**sides;
                Cow::Owned(match (&*left.value(operand), &*right.value(operand)) {
                    (Value::Integer(a), Value::Integer(b)) => {
                        Value::Integer(width.wrap(arithmetic.apply(*a, *b)))
                    }
                    _ => Value::Null,
                })
            }
            _ => Cow::Owned(self.truth(operand).map_or(Value::Null, Value::Boolean)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::{Integer, Null};

    fn pair(left: Formula, right: Formula) -> Box<[Formula; 2]> {
        Box::new([left, right])
    }

    fn less(left: Value, right: Value) -> Formula {
        Formula::Compare(Comparison::Less, pair(Formula::Constant(left), Formula::Constant(right)))
    }

    fn truth(formula: &Formula) -> Option<bool> {
        formula.truth(&|_| Cow::Owned(Null))
    }

    #[test]
    fn logic_has_three_values() {
        let yes = || less(Integer(1), Integer(2));
        let no = || less(Integer(2), Integer(1));
        let unknown = || less(Integer(1), Null);
        let of = |formula: &Formula| truth(formula);
        assert_eq!(of(&Formula::And(pair(unknown(), no()))), Some(false));
        assert_eq!(of(&Formula::And(pair(unknown(), yes()))), None);
        assert_eq!(of(&Formula::Or(pair(unknown(), yes()))), Some(true));
        assert_eq!(of(&Formula::Or(pair(no(), unknown()))), None);
        assert_eq!(of(&Formula::Not(Box::new(unknown()))), None);
        assert_eq!(of(&Formula::IsNull(Box::new(unknown()))), Some(true));
    }

    #[test]
    fn integers_wrap_in_their_type() {
        let sum = |width| {
            let sides = pair(Formula::Constant(Integer(100)), Formula::Constant(Integer(100)));
            let sum = Formula::Arithmetic(Arithmetic::Add, width, sides);
            sum.value(&|_| Cow::Owned(Null)).into_owned()
        };
        assert_eq!(sum(Width::Bits8), Integer(-56));
        assert_eq!(sum(Width::Bits64), Integer(200));
    }

    #[test]
    fn operands_are_read_only_where_they_decide() {
        let never = Formula::Operand(7);
        let formula = Formula::And(pair(less(Integer(2), Integer(1)), never));
        assert!(!formula.holds(&|_| unreachable!("the answer is known")));
    }
}
