"""Operations on vectors after a model has computed them; numpy alone."""
