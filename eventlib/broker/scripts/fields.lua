-- How an entry that left its stream carries its fields; several scripts begin with this text.
-- Theirs come first, as the publisher wrote them. Ours come last, from the last field named `attempts` on: attempts,
-- origin, failed (when an attempt first failed, ms), replays, edited (ms). A publisher's field may be named as one of
-- ours. Where theirs are more than Lua can pass on, `event` is passed on and all of them once more in ours, `packed`.
local TOO_MANY = 7000

local function parted(fields, retried)
  local first = #fields + 1
  for i = retried and #fields - 1 or 0, 1, -2 do
    if fields[i] == 'attempts' then first = i break end
  end
  local theirs, ours = {}, {}
  for i = 1, #fields, 2 do
    if i < first then
      theirs[i], theirs[i + 1] = fields[i], fields[i + 1]
    else
      ours[fields[i]] = fields[i + 1]
    end
  end
  if ours.packed then theirs = cmsgpack.unpack(ours.packed) end
  return theirs, ours
end

local function place_of(fields, name)
  for i = #fields - 1, 1, -2 do
    if fields[i] == name then return i + 1 end
  end
end

local function joined(theirs, ours)
  local fields = {}
  ours.packed = #theirs > TOO_MANY and cmsgpack.pack(theirs) or nil
  if ours.packed then
    local event = place_of(theirs, 'event')
    if event then fields = {'event', theirs[event]} end
  else
    for i = 1, #theirs do fields[i] = theirs[i] end
  end
  fields[#fields + 1], fields[#fields + 2] = 'attempts', ours.attempts
  for name, value in pairs(ours) do
    if name ~= 'attempts' then fields[#fields + 1], fields[#fields + 2] = name, value end
  end
  return fields
end

