-- Write one step's next record if nobody wrote it since; all of it, or nothing.
-- KEYS[1]  hash        the process: "s:<step>" -> "<version> <token> <record>", "n:<bit>" -> number of records that count
--                      as that bit, "class", "business_key", "index" -> digests and position, "since" -> epoch ms
-- KEYS[2]  sorted set  "<process>|<step>" -> deadline, epoch ms
-- KEYS[3]  sorted set  "<process>|<attempt>|<step>" -> end of lease, epoch ms
-- KEYS[4]  list        the process's log
-- KEYS[5]  hash        step -> stored message
-- KEYS[6]  hash        business key -> live process
-- KEYS[7]  sorted set  entries of the lists of processes
-- KEYS[8]  sorted set  terminal process that is not archived -> its last change, epoch ms
-- KEYS[9]  sorted set  terminal process that is archived -> its last change, epoch ms
-- KEYS[10] sorted set  process of whose log something is to be relayed -> when, epoch ms
-- KEYS[11] hash        "<type digest><name>\n<step>" -> total
-- ARGV[1]  process     ARGV[2]  step          ARGV[3]  expected version     ARGV[4]  token of this write
-- ARGV[5]  record      ARGV[6]  deadline, epoch ms, or ""
-- ARGV[7]  old lease member or ""    ARGV[8]  new lease member or ""        ARGV[9]  length of the lease, ms
-- ARGV[10] "keep", "drop" or "store" the message                            ARGV[11] message
-- ARGV[12] bits the record leaves, one digit each       ARGV[13] bits it enters
-- ARGV[14] class of a process for each set of bits that occur, one hexadecimal digit a set, from the set {bit 0} on
-- ARGV[15] for each class "0", or the digit of the end that its processes have come to: they hold no business key
-- ARGV[16] "1": what is logged is to be relayed, or ""
-- ARGV[17] number of log entries        ARGV[18] number of totals
-- ARGV[19…] log entries; then for each total "<name>\n<step>" and what is added; then for each end its log entry and
--          the "<name>\n<step>" of its total
-- Returns  {1, now in ms, new version, class before, class after}  |  {0, now in ms, current "<version> <token> <record>"}
--          |  {-1, now in ms} if there is no such step

local BITS = 7
local FIRST_ENTRY = 19

local field = 's:' .. ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local current = redis.call('HGET', KEYS[1], field)
if not current then
  return {-1, now}
end
local version, token = string.match(current, '^(%d+) (%x+) ')
local class = redis.call('HGET', KEYS[1], 'class')
local next_version = string.format('%d', ARGV[3] + 1)
if version == next_version and token == ARGV[4] then
  return {1, now, next_version, class, class}
end
if version ~= ARGV[3] then
  return {0, now, current}
end

-- The class of the process once the step's record is the new one.
local new_class = class
if ARGV[12] ~= '' or ARGV[13] ~= '' then
  local counts = redis.call('HMGET', KEYS[1], 'n:0', 'n:1', 'n:2', 'n:3', 'n:4', 'n:5', 'n:6')
  local present = 0
  for bit = 0, BITS - 1 do
    local count = tonumber(counts[bit + 1] or 0)
    if string.find(ARGV[12], bit, 1, true) then
      count = count - 1
    elseif string.find(ARGV[13], bit, 1, true) then
      count = count + 1
    end
    if count > 0 then
      present = present + 2 ^ bit
    end
  end
  new_class = string.sub(ARGV[14], present, present)
end

-- Reads of all that is needed below: a key of a wrong type or a field that is gone is an error here, before the first
-- write.
local due = ARGV[1] .. '|' .. ARGV[2]
redis.call('ZSCORE', KEYS[2], due)
redis.call('ZSCORE', KEYS[3], due)
redis.call('LLEN', KEYS[4])
redis.call('HLEN', KEYS[5])
redis.call('ZCARD', KEYS[10])
redis.call('HLEN', KEYS[11])
local number, new_number = tonumber(class, 16), tonumber(new_class, 16)
assert(number < #ARGV[15], 'the class is none of ours')
local old_end = string.sub(ARGV[15], number + 1, number + 1)
local new_end = string.sub(ARGV[15], new_number + 1, new_number + 1)
local was_terminal, is_terminal = old_end ~= '0', new_end ~= '0'
local index = redis.call('HGET', KEYS[1], 'index')
local position, by_type, by_tenant = string.sub(index, 25), string.sub(index, 1, 8), string.sub(index, 9, 16)
local business_key, holder, since
if new_class ~= class then
  redis.call('ZCARD', KEYS[7])
  business_key = redis.call('HGET', KEYS[1], 'business_key')
  holder = redis.call('HGET', KEYS[6], business_key)
end
if was_terminal or is_terminal then
  redis.call('ZCARD', KEYS[8])
  redis.call('ZCARD', KEYS[9])
  since = math.max(now, (redis.call('HGET', KEYS[1], 'since') or 0) + 1)
end

if ARGV[6] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[6], due)
end
if ARGV[8] ~= '' then
  redis.call('ZADD', KEYS[3], now + ARGV[9], ARGV[8])
end
if ARGV[10] == 'store' then
  redis.call('HSET', KEYS[5], ARGV[2], ARGV[11])
end
redis.call('HSET', KEYS[1], field, next_version .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
local first_total = FIRST_ENTRY + ARGV[17]
local first_end = first_total + 2 * ARGV[18]
for i = FIRST_ENTRY, first_total - 1 do
  redis.call('RPUSH', KEYS[4], ARGV[i])
end
for i = first_total, first_end - 1, 2 do
  redis.call('HINCRBY', KEYS[11], by_type .. ARGV[i], ARGV[i + 1])
end
if is_terminal and new_end ~= old_end then
  local own_end = first_end + 2 * (new_end - 1)
  redis.call('RPUSH', KEYS[4], ARGV[own_end])
  redis.call('HINCRBY', KEYS[11], by_type .. ARGV[own_end + 1], 1)
end
if ARGV[16] == '1' then
  redis.call('ZADD', KEYS[10], 'NX', now, ARGV[1])
end
if ARGV[6] == '' then
  redis.call('ZREM', KEYS[2], due)
end
if ARGV[7] ~= '' then
  redis.call('ZREM', KEYS[3], ARGV[7])
end
if ARGV[10] == 'drop' then
  redis.call('HDEL', KEYS[5], ARGV[2])
end
for bit in string.gmatch(ARGV[12], '.') do
  redis.call('HINCRBY', KEYS[1], 'n:' .. bit, -1)
end
for bit in string.gmatch(ARGV[13], '.') do
  redis.call('HINCRBY', KEYS[1], 'n:' .. bit, 1)
end

if is_terminal then
  redis.call('HSET', KEYS[1], 'since', string.format('%d', since))
  redis.call('ZADD', KEYS[8], since, ARGV[1])
elseif was_terminal then
  redis.call('ZREM', KEYS[8], ARGV[1])
end
if was_terminal then
  redis.call('ZREM', KEYS[9], ARGV[1])
end
if new_class == class then
  return {1, now, next_version, class, class}
end

redis.call('HSET', KEYS[1], 'class', new_class)
redis.call('ZADD', KEYS[7], 0, 't' .. new_class .. by_type .. position, 0, 'u' .. new_class .. by_tenant .. position)
redis.call('ZREM', KEYS[7], 't' .. class .. by_type .. position, 'u' .. class .. by_tenant .. position)
if not is_terminal then
  redis.call('HSETNX', KEYS[6], business_key, ARGV[1])
elseif holder == ARGV[1] then
  redis.call('HDEL', KEYS[6], business_key)
end
return {1, now, next_version, class, new_class}
