-- How an entry that left its stream carries its fields. Several scripts begin with this text.
-- The published fields come first, as the publisher wrote them. The added fields come last, from the last field named
-- `attempts` on: attempts, origin, failed (when an attempt first failed, ms), replays, edited (ms). A published field
-- may have the name of an added one. If there are more published fields than Lua can pass on, only `event` is passed
-- on, and one more added field, `packed`, holds all of them.
local TOO_MANY = 7000

-- Deliveries before the one that ends now. Other programs may set the server's count, to zero too.
local function earlier_deliveries(count)
  return math.max(0, count - 1)
end

local function split_fields(fields, retried)
  local first = #fields + 1
  for i = retried and #fields - 1 or 0, 1, -2 do
    if fields[i] == 'attempts' then first = i break end
  end
  local published, added = {}, {}
  for i = 1, #fields, 2 do
    if i < first then
      published[i], published[i + 1] = fields[i], fields[i + 1]
    else
      added[fields[i]] = fields[i + 1]
    end
  end
  if added.packed then published = cmsgpack.unpack(added.packed) end
  return published, added
end

local function value_index(fields, name)
  for i = #fields - 1, 1, -2 do
    if fields[i] == name then return i + 1 end
  end
end

local function join_fields(published, added)
  local fields = {}
  added.packed = #published > TOO_MANY and cmsgpack.pack(published) or nil
  if added.packed then
    local event = value_index(published, 'event')
    if event then fields = {'event', published[event]} end
  else
    for i = 1, #published do fields[i] = published[i] end
  end
  fields[#fields + 1], fields[#fields + 2] = 'attempts', added.attempts
  for name, value in pairs(added) do
    if name ~= 'attempts' then fields[#fields + 1], fields[#fields + 2] = name, value end
  end
  return fields
end

