from sadetr.settings import PositiveInt, Record


class ToySettings(Record):
    hidden_width: PositiveInt = 16
