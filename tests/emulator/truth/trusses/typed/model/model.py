from pydantic import BaseModel, Field


class Item(BaseModel):
    name: str
    amounts: list[int]


class Order(BaseModel):
    item: Item
    discount: float = Field(default=0.0, ge=0, le=1)


class Receipt(BaseModel):
    name: str
    total: float


class Model:
    def predict(self, order: Order) -> Receipt:
        return Receipt(name=order.item.name, total=sum(order.item.amounts) * (1 - order.discount))
